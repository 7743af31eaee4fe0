"""The fence agent, in the order of a call: options, request, plan, run, verdict, report."""
