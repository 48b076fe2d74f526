"""A run's places beside the hospitals that its model knows: what images are of one place, and is it strange?"""
