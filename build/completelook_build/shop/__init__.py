"""A shop's own photos in one command: the model, its self-test, and a page that tells its worth."""

from completelook_build.shop.learn import learn_from_photos

__all__ = ["learn_from_photos"]
