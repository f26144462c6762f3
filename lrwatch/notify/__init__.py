"""Messages to people without Prometheus: channels of apprise, and a command of one's own.

Read `notices` first (what is worth a message), then `outbox` (when it is sent), `channels` (how) and `notifier` (the threads).
"""
