#compdef halvmctl
# zsh completion of halvmctl. Written by packaging/completion.py.
local context state state_descr line ret=1
typeset -A opt_args
_arguments -s -C -A '-*' \
    '(-h --help)'{-h,--help}'[show this help message and exit]' \
    --version'[show program'\''s version number and exit]' \
    '1:word:((status\:"the cluster on one screen" check\:"what would make a failover fail"))' \
    '*::option:->word' && ret=0
[[ $state == word ]] && case $words[1] in
    status)
    _arguments -s \
        '(-h --help)'{-h,--help}'[show this help message and exit]' \
        --json'[print one JSON object]' \
        --local-node='[which node this is (default\: the one named as this host)]:value:' \
        --cluster-conf='[cman'\''s file, where it is not in its usual place]:file:_files' \
        '*'--vg='[a shared volume group (default\: the configuration'\''s)]:value:' && ret=0 ;;
    check)
    _arguments -s \
        '(-h --help)'{-h,--help}'[show this help message and exit]' \
        --json'[print one JSON object]' \
        --local-node='[which node this is (default\: the one named as this host)]:value:' \
        '*'--cluster-conf='[cman'\''s file; may be repeated\: copies of several nodes]:file:_files' \
        --corosync-conf='[corosync'\''s file]:file:_files' \
        '*'--lvm-conf='[LVM'\''s file; may be repeated\: lvmlocal.conf, too]:file:_files' \
        --cib='[Pacemaker'\''s configuration, as cibadmin --query prints it]:file:_files' \
        --dlm-conf='[dlm_controld'\''s file]:file:_files' \
        --multipath-conf='[multipathd'\''s file]:file:_files' && ret=0 ;;
esac
return ret
