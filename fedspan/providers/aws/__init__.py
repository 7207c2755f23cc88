"""Machines on Amazon EC2.

A machine is an instance and a security group, and an imported key pair where one is wished for.
All carry the same marks (`marks`), and are named from the machine's key. The group is the first to
be made and the last to go, so whatever is left over shows as a group.
"""
