"""What arrives when something breaks: clew and the SDKs it is compared to (see README.md)."""
