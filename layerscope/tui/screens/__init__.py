"""The screens. Each is made of widgets and knows the session; what they show is read in workers."""
