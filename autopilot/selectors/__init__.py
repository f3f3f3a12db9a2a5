"""ORDERS: selectors over policy, found as Twisted plug-ins."""
