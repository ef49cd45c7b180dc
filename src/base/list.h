/* list: an intrusive doubly linked ring.
 * Layer base; everybody uses it.
 * A list head and an unlinked node both point at themselves; list_remove may be called on an unlinked node.
 */
#ifndef ADIT_BASE_LIST_H
#define ADIT_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/** Links `node`, which must be unlinked, before `at`; with a list's head that means at its end. */
static inline void list_insert_before(struct list *at, struct list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

static inline void list_append(struct list *head, struct list *node)
{
	list_insert_before(head, node);
}

/** Walks the list; the body may unlink the current node. */
#define list_each(it, tmp, head)                                                                   \
	for ((it) = (head)->next, (tmp) = (it)->next; (it) != (head); (it) = (tmp), (tmp) = (it)->next)

#endif
