"""OpenStack: the private clouds where participants are.

Keystone says who a credential is and where the other services are; Nova runs machines from the
images of Glance, on the networks of Neutron. There are no prices, and no token that makes a launch
happen once: what is on a server (`facts`) says whose it is, and `machines` looks before it makes.
"""
