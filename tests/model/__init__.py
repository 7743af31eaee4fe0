# SPDX-License-Identifier: Apache-2.0
"""A model of the fence race, in which every order of events within given bounds is tried: ``make model``.

What is modelled, and by which code
    An agent is the product's own code (``procedures.py``): ``Run`` lets power go or not, ``storage_worker._pursue`` and
    all below it race, isolate, look again, register and unfence. It is run up to its next step, again and again, so no
    line of it is written down a second time. A step is one of these:

    ====================================  ==============================================================================
    step                                  stands for
    ====================================  ==============================================================================
    a look, READ KEYS                     ``logical_unit._consistent_look``, ``register_under_guard``
    PREEMPT (AND ABORT)                   ``key_removal.remove_key``, from ``arbitration._race`` and ``isolation``
    REGISTER of the guard key, of own     ``guarded_registration._by_guard``
    REGISTER (AND IGNORE)                 ``registration._register_path``, ``isolation._leave_trace``
    RESERVE                               ``registration._hold``, ``isolation._reserve``
    a file is written                     ``marker.write_marker``, ``fenced_record.write_record``, ``forget``
    corosync is asked                     ``fenced_record.refusal``
    the BMC opens a session               ``SessionOpened``; then ``Run._let_go`` asks for the look before GO
    the command to the BMC                ``Go``, and all that the power worker does with it
    ====================================  ==============================================================================

    Around the agents: one is killed at any step, a command is lost, or its answer; a node's session ends and it has a
    new one; a node boots; an agent is called again, also by the node that lost. How often each may happen is the
    scenario's budget (``scenarios.py``).

What must hold (``cluster.py``)
    1. Never have two nodes won against each other, and never have they been given power over each other, both in the
       same boots; of more nodes, no ring of them.
    2. Where nothing was lost, killed or booted, one of two has won when both calls are over.
    3. After LunIsolated (the proof by storage), no write of the target is accepted on that LUN until it has booted. A
       proof is of the boot in which the target is registered on that LUN, or was fenced on another one.
    4. A node whose last key another node has removed is not registered under its key again in the same boot.
    5. A node that was fenced removes no key of its peer before the two have met (decision 0016).

What it assumes
    - A target executes each command of PERSISTENT RESERVE OUT as a whole, one after the other, as SPC-4 5.13 says, and
      its generation moves with each that changes a registration. ``target.py`` is compared with the fake target of the
      other tests, which is compared with tgtd and LIO.
    - No clock: a step may take for ever. A deadline that passes is an agent that is killed. The time for which fences
      are refused after two nodes have met has passed at once. But the BMC's command after a look is executed before its
      target boots, registers and wins (``Scenario.slack``).
    - One agent at a time on each node, one path to each LUN, ranks off, the same policy and configuration on all nodes.
      Two paths, several gateways and keys that are not expected are left to the random tests in tests/decisions.
    - A look is one step unless ``single_reads``.

``scenarios.LIMITS`` are what is known not to hold, each written down in a decision; ``mutants.py`` breaks the product.
The search has to find both.
"""
