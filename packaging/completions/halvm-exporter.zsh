#compdef halvm-exporter
# zsh completion of halvm-exporter. Written by packaging/completion.py.
_arguments -s \
    '(-h --help)'{-h,--help}'[show this help message and exit]' \
    '*'--web.listen-address='[address to listen on, may be repeated; \[\:\:1\]\:PORT for IPv6 (default \:10623\: all addresses)]:value:' \
    --web.config.file='[TLS and basic auth, in the format of Prometheus'\'' exporter-toolkit (default\: neither)]:file:_files' \
    --snapshot.file='[what halvm-watchdogd publishes (default /run/fence-halvm/watchdogd.json)]:file:_files' \
    --journal.file='[journal of fences (default /var/lib/fence-halvm/journal.db)]:file:_files' \
    --version'[show program'\''s version number and exit]'
