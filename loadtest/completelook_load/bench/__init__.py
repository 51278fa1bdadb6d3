"""`make bench`: the served model beside the bare one and beside other servers, in one run."""
