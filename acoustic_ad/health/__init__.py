"""How a machine is: the policy that turns clip scores into a state."""
