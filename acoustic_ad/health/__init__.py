"""How a machine is: from the scores of its clips to a state, an index and alarms with a stated false-alarm budget.

A clip's score becomes a z against the fixed `baseline`; `charts` gather z's over time; their `limits` are those with
which simulated healthy machines raise as many false alarms as the `policy` allows; `excursions` of the index that the
charts share become episodes; `timeline.machine_health` tells the whole. What operators do with an episode is in
`alarms`, what they find out in `feedback`, what happens to all machines at once in `fleet`. Everything here is pure: no
files, no clock, and the order of arrival never matters.
"""
