"""Tests of `agent/planning/goal_rules`, through `build_graph`."""
