"""Will a flight arrive more than 15 minutes late, asked one hour before its scheduled departure?"""
