/* blocks.h - memory of large CPU tensors. Private to src/tensor.
 *
 * A training step allocates and frees the same large tensors over and over.  Given back to the kernel each time, they
 * cost a page fault every 4 KB (an eighth of a VGG16 step); kept in malloc's heap, the holes between them raise the
 * peak by a fifth.  Here freed blocks wait for a request of their size, and as many are unmapped as it takes that
 * blocks in use and waiting together hardly exceed what was once in use at the same time (by a sixteenth): the peak is
 * what the work itself needs.  Blocks lie on huge pages where the kernel has some.  All functions may be called from any
 * thread. */
#ifndef MIDRE_BLOCKS_H
#define MIDRE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MT_BLOCK_ALIGN ((size_t)2 << 20) /* every block begins at a multiple of this, and none is smaller */

/* At least `bytes` >= MT_BLOCK_ALIGN of memory with any content; NULL when there is none. */
void *mt_block_get(size_t bytes);
/* True, and the block is free again, if it is one in use; false for any other pointer. */
bool mt_block_put(void *p);
/* Unmaps what waits and forgets the peak: the next phase has other sizes. */
void mt_blocks_release(void);
/* Bytes in use and bytes waiting, for tests. */
void mt_blocks_count(size_t *used, size_t *waiting);

/* From now on libtorch's CPU tensors of MT_BLOCK_ALIGN and more live in blocks.  False, and nothing is changed, under
 * AddressSanitizer: it watches malloc's memory, and would be blind to what runs over a block. */
bool mt_blocks_install(void);

#ifdef __cplusplus
}
#endif
#endif
