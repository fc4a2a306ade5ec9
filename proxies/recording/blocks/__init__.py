"""The blocks of any network, found from its data flow, and the pass over them."""
