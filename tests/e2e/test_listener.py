"""A daemon that other machines may read: Prometheus with a client certificate and a password does, and nobody else."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import urllib.request
from functools import partial
from pathlib import Path

import bcrypt
import pytest
import trustme
from support.daemon_process import DaemonProcess, lrwatch
from support.prometheus_server import prometheus
from support.waiting import eventually as soon

pytestmark = pytest.mark.slow

# For a machine that does a lot else.
eventually = partial(soon, timeout=60.0)


def test_other_machines_need_protection_or_a_word(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("step 1 loss 2.0\n")
    arguments = ("run", tmp_path / "train.log", "--state", tmp_path / "state", "--listen", "0.0.0.0:0")
    refused = lrwatch(*arguments)
    assert refused.returncode == 3
    assert "--listen 0.0.0.0:0: expected TLS and authentication" in refused.stderr
    broken = lrwatch(*arguments, env={"LRWATCH_EXPORT_WEB_CONFIG": str(tmp_path / "nowhere.yml")})
    assert broken.returncode == 3
    assert "nowhere.yml: expected a web configuration that can be read" in broken.stderr


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's prometheus is not installed")
def test_prometheus_reads_a_protected_daemon_and_others_do_not(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("prometheus.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issued in (("server", server), ("client", client)):
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    web = {
        "tls_server_config": {
            "cert_file": "server.pem", "key_file": "server.key", "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "ca.pem",
        },
        "basic_auth_users": {"prometheus": bcrypt.hashpw(b"secret", bcrypt.gensalt(5)).decode()},
    }  # fmt: skip
    (tmp_path / "web.yml").write_text(json.dumps(web))
    (tmp_path / "train.log").write_text("".join(f"step {i} loss {2 - i / 100}\n" for i in range(100)))
    daemon = DaemonProcess(
        tmp_path / "home", tmp_path / "train.log", "--listen", "0.0.0.0:0", "--web-config", tmp_path / "web.yml"
    )
    try:
        eventually(lambda: "\n" in daemon.stderr, what="a first line")
        listening = re.match(r"listening on https://0\.0\.0\.0:(\d+)\n", daemon.stderr)
        assert listening, daemon.stderr
        address = f"127.0.0.1:{listening[1]}"
        scrape = {
            "scheme": "https",
            "tls_config": {name: str(tmp_path / file) for name, file in
                           (("ca_file", "ca.pem"), ("cert_file", "client.pem"), ("key_file", "client.key"))},
            "basic_auth": {"username": "prometheus", "password": "secret"},
        }  # fmt: skip
        (tmp_path / "prometheus").mkdir()
        with prometheus(tmp_path / "prometheus", [address], scrape=scrape) as served:
            (step,) = eventually(lambda: served.query("lrwatch_run_step"))
            assert step["value"][1] == "99"
            assert [target["health"] for target in served.targets()] == ["up"]
        stranger = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with pytest.raises(OSError):
            urllib.request.urlopen(f"https://{address}/metrics", context=stranger, timeout=10)
        assert daemon.end() == 0
        assert daemon.stderr.count("\n") == 1, daemon.stderr
    finally:
        daemon.process.kill()
        daemon.process.wait()
