#compdef halvm-watchdogd
# zsh completion of halvm-watchdogd. Written by packaging/completion.py.
_arguments -s \
    '(-h --help)'{-h,--help}'[show this help message and exit]' \
    '(-c --config)'{-c+,--config=}'[default\: /etc/fence-halvm/watchdogd.toml]:file:_files' \
    --version'[show program'\''s version number and exit]' \
    --check-config'[check the file, say what follows from it, and exit]' \
    --for='[90s, 10m, 2h; at most 24 h]:value:' \
    '1:word:((status\:"how the running sidecar is" last\:"why this node last fenced itself" pause\:"losing the storage resets nothing for a while" resume\:"ends a pause" run\:"arm a watchdog and run; the same without any word"))'
