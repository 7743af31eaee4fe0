# bash completion of halvmctl. Written by packaging/completion.py.
_halvmctl()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    # bash takes --name=value apart at the sign
    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    COMPREPLY=()
    case $prev in
        --cluster-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --corosync-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --lvm-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --cib) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --dlm-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --multipath-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --local-node|--vg) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "--help --version --json --local-node= --cluster-conf= --vg= --corosync-conf= --lvm-conf= --cib= --dlm-conf= --multipath-conf= status check" -- "$cur")
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
complete -F _halvmctl halvmctl
