"""Many visitors at once, and large bodies."""


def run(context):
	context.skip("not written yet")
