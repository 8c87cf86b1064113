"""What api, gateway and relay share; imports none of them."""
