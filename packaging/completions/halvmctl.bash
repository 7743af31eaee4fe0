# bash completion of halvmctl. Written by packaging/completion.py.
_halvmctl()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    # bash takes --name=value apart at the sign
    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    COMPREPLY=()
    case $prev in
        --cluster-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --corosync-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --lvm-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --cib) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --dlm-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --multipath-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --local-node|--vg) return ;;
    esac
    local offered="--help --version status check"
    local typed
    for typed in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
        case $typed in
            status) offered="--help --json --local-node= --cluster-conf= --vg="; break ;;
            check) offered="--help --json --local-node= --cluster-conf= --corosync-conf= --lvm-conf= --cib= --dlm-conf= --multipath-conf="; break ;;
        esac
    done
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$cur")
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
complete -F _halvmctl halvmctl
