"""RunConfig -> built parts -> run folder: the one place that assembles."""
