#compdef fence_halvm
# zsh completion of fence_halvm. Written by packaging/completion.py.
_arguments -s \
    '(-o --action)'{-o+,--action=}'[Fencing action\: on, off, reboot, status, list, list-status, monitor, metadata, manpage, validate-all, diag or history]:value:(on off reboot status list list-status monitor metadata manpage validate-all diag history)' \
    --aptpl'[Registrations survive a power loss of the target (APTPL)]' \
    '(-C --cipher)'{-C+,--cipher=}'[IPMI cipher suite\: 3 or 17]:value:' \
    '(-d --devices)'{-d+,--devices=}'[Shared LUNs, separated by commas or blanks\: WWIDs, /dev/disk/by-id/... or iscsi\://portal/iqn/lun]:file:_files' \
    --hexadecimal-kg='[BMC key Kg, in hexadecimal digits]:value:' \
    '(-a --ip)'{-a+,--ip=}'[Address or host name of the node'\''s BMC]:value:' \
    '(-u --ipport)'{-u+,--ipport=}'[UDP port of the BMC]:value:' \
    '(-k --key)'{-k+,--key=}'[Reservation key of the node to fence (of this node for on), in hexadecimal digits]:value:' \
    --local-key='[Reservation key of this node, in hexadecimal digits]:value:' \
    --local-node='[Name of this node in the cluster]:value:' \
    '(-m --method)'{-m+,--method=}'[How to reboot\: power off, see it off, power on; or one power cycle]:value:(onoff cycle)' \
    --node='[Node id of the node to fence, as dlm_controld gives it; nodename wins over it, it wins over plug]:value:' \
    --nodename='[Name of the node to fence, as cluster managers add it to every call; wins over plug]:value:' \
    '(-p --password)'{-p+,--password=}'[Password at the BMC]:value:' \
    '(-S --password-script)'{-S+,--password-script=}'[Command whose standard output is the password; wins over password]:file:_files' \
    '(-n --plug)'{-n+,--plug=}'[Name of the node to fence]:value:' \
    '(-L --privlvl)'{-L+,--privlvl=}'[Privilege level of the BMC session]:value:(callback user operator administrator)' \
    --target='[Bridge the requests to this IPMB slave address behind the BMC]:value:' \
    '(-l --username)'{-l+,--username=}'[User name at the BMC]:value:' \
    --vg='[LVM volume group whose physical volumes are the shared LUNs]:value:' \
    --arbitration='[Whether the reservation decides a fence race before power is touched]:value:(required preferred off)' \
    --bmc-guid='[GUID that the node'\''s BMC has to show; none\: accept any BMC]:value:' \
    --cluster-conf='[cluster.conf with the nodes, their ids and their fence devices]:file:_files' \
    --initiator='[iSCSI initiator name used for iscsi\:// devices]:value:' \
    --proof='[Which proof makes a fence a success]:value:(power storage any all self)' \
    --reservation-type='[Persistent reservation type]:value:(WERO WE EARO EA WEAR EAAR)' \
    --self-fence-bound='[With proof=self\: the longest time in which the target'\''s halvm-watchdogd resets it]:value:' \
    --re-register'[Register this node again although it was preempted in this boot]' \
    '(-q --quiet)'{-q,--quiet}'[No progress on stderr; verdict, debug_file and syslog stay]' \
    '*'{-v,--verbose}'[Print each step as it happens]' \
    --verbose-level='[How much to say]:value:' \
    '(-D --debug-file)'{-D+,--debug-file=}'[Also write what -v says to this file]:file:_files' \
    '(-V --version)'{-V,--version}'[Print the version and exit]' \
    '(-h --help)'{-h,--help}'[Print this list and exit]' \
    --dry-run'[Print the plan, send nothing]' \
    --deadline='[Overall time for everything after delay]:value:' \
    --delay='[Wait so long before off or reboot begins]:value:' \
    --disable-timeout='[Leave the limits on single steps to the caller]:value:' \
    --fail-time='[When the node failed, as dlm_controld says with each fence\: no other action is taken with it]:value:' \
    --login-timeout='[Time for one attempt to open a BMC session]:value:' \
    --pcmk-reboot-timeout='[Pacemaker'\''s own time for a fence, where a caller tells it\: Pacemaker does not]:value:' \
    --port-as-ip'[Take the BMC'\''s address from plug]' \
    --power-timeout='[Time for the chassis to show the new power state]:value:' \
    --power-wait='[Extra wait after a power command; 0, because the state is verified instead]:value:' \
    --rank-slot='[Head start that each rank gives in a fence race; 0 switches ranks off]:value:' \
    --stonith-status-sleep='[Longest pause between two reads of the chassis state]:value:' \
    --retry-on='[Attempts to switch the node on]:value:' \
    --journal='[Journal of what was fenced, switched on, unfenced and monitored; none\: keep no journal]:file:_files' \
    --key-value='[How a reservation key is derived from a node]:value:(nodeid id hash)' \
    --state-dir='[Directory of the marks that must not survive a reboot]:directory:_files -/' \
    --json'[Print results as JSON\: one object a line]' \
    --limit='[With history\: show so many events, the latest first; 0\: all]:value:'
