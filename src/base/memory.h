/* memory: how the process treats the allocator.
 * Layer base; the mains call it once, before anything else.
 */
#ifndef ADIT_BASE_MEMORY_H
#define ADIT_BASE_MEMORY_H

/**
 * Keeps a few MiB of freed heap instead of giving it back to the kernel at once: buffers of 4 to 64 KiB come and go
 * with every body, and mapping their pages anew each time cost a tenth of a download's CPU. Does nothing where the
 * C library has no such knobs.
 */
void memory_tune(void);

#endif
