# bash completion of halvm-exporter. Written by packaging/completion.py.
_halvm_exporter()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    # bash takes --name=value apart at the sign
    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    COMPREPLY=()
    case $prev in
        --web.config.file) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --snapshot.file) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --journal.file) mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames; return ;;
        --web.listen-address) return ;;
    esac
    local offered="--help --web.listen-address= --web.config.file= --snapshot.file= --journal.file= --version"
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$cur")
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
complete -F _halvm_exporter halvm-exporter
