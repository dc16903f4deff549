"""Values of the application, which may do anything: read without harm, and described where they fail."""
