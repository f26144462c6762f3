"""Take of `lrwatch/` only the modules that a training needs: pyproject.toml can name packages, and not single modules."""

from setuptools import setup
from setuptools.command.build_py import build_py

MODULES = {"__init__", "_version", "controller", "errors"}


class BuildClient(build_py):
    """Leave out the modules of the daemon."""

    def find_package_modules(self, package, package_dir):
        """Return the modules of a package, as package, name and path."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if package != "lrwatch" or module[1] in MODULES]


setup(cmdclass={"build_py": BuildClient})
