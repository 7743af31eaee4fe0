# bash completion of halvm-watchdogd. Written by packaging/completion.py.
_halvm_watchdogd()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    # bash takes --name=value apart at the sign
    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    COMPREPLY=()
    case $prev in
        -c|--config) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --for) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "--help --config= --version --check-config --for= status last pause resume run" -- "$cur")
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
complete -F _halvm_watchdogd halvm-watchdogd
