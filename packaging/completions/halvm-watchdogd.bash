# bash completion of halvm-watchdogd. Written by packaging/completion.py.
_halvm_watchdogd()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    # bash takes --name=value apart at the sign
    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    COMPREPLY=()
    case $prev in
        -c|--config) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --for) return ;;
    esac
    local offered="--help --config= --version --check-config status last pause resume run"
    local typed
    for typed in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
        case $typed in
            status) offered="--help --config="; break ;;
            last) offered="--help --config="; break ;;
            pause) offered="--help --config= --for="; break ;;
            resume) offered="--help --config="; break ;;
            run) offered="--help --config="; break ;;
        esac
    done
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$cur")
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
complete -F _halvm_watchdogd halvm-watchdogd
