#compdef halvm-watchdogd
# zsh completion of halvm-watchdogd. Written by packaging/completion.py.
local context state state_descr line ret=1
typeset -A opt_args
_arguments -s -C -A '-*' \
    '(-h --help)'{-h,--help}'[show this help message and exit]' \
    '(-c --config)'{-c+,--config=}'[default\: /etc/fence-halvm/watchdogd.toml]:file:_files' \
    --version'[show program'\''s version number and exit]' \
    --check-config'[check the file, say what follows from it, and exit]' \
    '1:word:((status\:"how the running sidecar is" last\:"why this node last fenced itself" pause\:"losing the storage resets nothing for a while" resume\:"ends a pause" run\:"arm a watchdog and run; the same without any word"))' \
    '*::option:->word' && ret=0
[[ $state == word ]] && case $words[1] in
    status)
    _arguments -s \
        '(-h --help)'{-h,--help}'[show this help message and exit]' \
        '(-c --config)'{-c+,--config=}'[default\: /etc/fence-halvm/watchdogd.toml]:file:_files' && ret=0 ;;
    last)
    _arguments -s \
        '(-h --help)'{-h,--help}'[show this help message and exit]' \
        '(-c --config)'{-c+,--config=}'[default\: /etc/fence-halvm/watchdogd.toml]:file:_files' && ret=0 ;;
    pause)
    _arguments -s \
        '(-h --help)'{-h,--help}'[show this help message and exit]' \
        '(-c --config)'{-c+,--config=}'[default\: /etc/fence-halvm/watchdogd.toml]:file:_files' \
        --for='[90s, 10m, 2h; at most 24 h]:value:' && ret=0 ;;
    resume)
    _arguments -s \
        '(-h --help)'{-h,--help}'[show this help message and exit]' \
        '(-c --config)'{-c+,--config=}'[default\: /etc/fence-halvm/watchdogd.toml]:file:_files' && ret=0 ;;
    run)
    _arguments -s \
        '(-h --help)'{-h,--help}'[show this help message and exit]' \
        '(-c --config)'{-c+,--config=}'[default\: /etc/fence-halvm/watchdogd.toml]:file:_files' && ret=0 ;;
esac
return ret
