"""Pages for people: plain HTML, written on the server, without scripts."""
