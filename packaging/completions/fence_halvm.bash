# bash completion of fence_halvm. Written by packaging/completion.py.
_fence_halvm()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    # bash takes --name=value apart at the sign
    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    COMPREPLY=()
    case $prev in
        -o|--action) mapfile -t COMPREPLY < <(compgen -W "on off reboot status list list-status monitor metadata manpage validate-all diag history" -- "$cur")
            return ;;
        -d|--devices) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        -m|--method) mapfile -t COMPREPLY < <(compgen -W "onoff cycle" -- "$cur")
            return ;;
        -S|--password-script) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        -L|--privlvl) mapfile -t COMPREPLY < <(compgen -W "callback user operator administrator" -- "$cur")
            return ;;
        --arbitration) mapfile -t COMPREPLY < <(compgen -W "required preferred off" -- "$cur")
            return ;;
        --cluster-conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --proof) mapfile -t COMPREPLY < <(compgen -W "power storage any all self" -- "$cur")
            return ;;
        --reservation-type) mapfile -t COMPREPLY < <(compgen -W "WERO WE EARO EA WEAR EAAR" -- "$cur")
            return ;;
        -D|--debug-file) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --journal) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --key-value) mapfile -t COMPREPLY < <(compgen -W "nodeid id hash" -- "$cur")
            return ;;
        --state-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            compopt -o filenames; return ;;
        -C|--cipher|--hexadecimal-kg|-a|--ip|-u|--ipport|-k|--key|--local-key|--local-node|--node|--nodename|-p|--password|-n|--plug|--target|-l|--username|--vg|--bmc-guid|--initiator|--self-fence-bound|--verbose-level|--deadline|--delay|--disable-timeout|--fail-time|--login-timeout|--pcmk-reboot-timeout|--power-timeout|--power-wait|--rank-slot|--stonith-status-sleep|--retry-on|--limit) return ;;
    esac
    local offered="--action= --aptpl --cipher= --devices= --hexadecimal-kg= --ip= --ipport= --key= --local-key= --local-node= --method= --node= --nodename= --password= --password-script= --plug= --privlvl= --target= --username= --vg= --arbitration= --bmc-guid= --cluster-conf= --initiator= --proof= --reservation-type= --self-fence-bound= --re-register --quiet --verbose --verbose-level= --debug-file= --version --help --dry-run --deadline= --delay= --disable-timeout= --fail-time= --login-timeout= --pcmk-reboot-timeout= --port-as-ip --power-timeout= --power-wait= --rank-slot= --stonith-status-sleep= --retry-on= --journal= --key-value= --state-dir= --json --limit="
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$cur")
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
complete -F _fence_halvm fence_halvm
