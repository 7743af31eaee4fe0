# SPDX-License-Identifier: Apache-2.0
"""fence_ipmilan's own parsing of its input, to compare ours with. Run by the system's python, never imported.

One JSON case a line on stdin: {"stdin": text} or {"argv": [...]}; one JSON answer a line on stdout:
{"values": {long name: text}, "invalid": [long names]} or {"refused": true}.
"""

import importlib.machinery
import importlib.util
import io
import json
import logging
import sys
import warnings

warnings.simplefilter("ignore")
sys.path.append("/usr/share/fence")
loader = importlib.machinery.SourceFileLoader("fence_ipmilan", "/usr/sbin/fence_ipmilan")
peer = importlib.util.module_from_spec(importlib.util.spec_from_loader("fence_ipmilan", loader))
loader.exec_module(peer)
import fencing  # noqa: E402

logging.disable(logging.CRITICAL)
peer.define_new_opts()

# As fence_ipmilan's main() has it.
OPTIONS = (
    *("ipaddr", "login", "no_login", "no_password", "passwd", "diag", "lanplus", "auth", "cipher", "privlvl", "sudo"),
    *("ipmitool_path", "ipmitool_timeout", "method", "target", "hexadecimal_kg"),
)

cases, answers = sys.stdin, sys.stdout
for line in cases:
    case = json.loads(line)
    sys.argv = ["fence_ipmilan", *case.get("argv", [])]
    sys.stdin = io.StringIO(case.get("stdin", ""), newline=None)
    options = list(OPTIONS)
    try:
        values = fencing.process_input(options)
    except SystemExit:
        answer = {"refused": True}
    else:
        checked = {**values, "device_opt": options}
        # The peer looks at no type before it has dealt with the verbosity, and then it is a number.
        checked["--verbose-level"] = "0"
        bad = fencing._get_opts_with_invalid_types(checked) + fencing._get_opts_with_invalid_choices(checked)
        answer = {
            "values": {name[2:]: str(value) for name, value in values.items()},
            "invalid": sorted({fencing.all_opt[name]["longopt"] for name in bad}),
        }
    print(json.dumps(answer), file=answers, flush=True)
