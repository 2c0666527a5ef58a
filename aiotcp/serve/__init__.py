"""The program aiotcp-serve: echo, files, live connections and ASGI applications on our own TCP.

main        the command line: options, and nothing else that takes time to import
program     one run, from the packets to the signals
device      the TUN device, set up, or a clear word on why it can't be
privileges  who may do what, and giving it up
echo, web   the services; pages has what the web service shows
standard    what all of our commands want of their surroundings
problems    what can go wrong for a user, and the exit codes
"""
