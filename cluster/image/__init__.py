"""What the container image is built with, and how it says whether it is well."""
