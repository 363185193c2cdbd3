"""Where bytes come from: one file a hub, and the folder of this machine."""
