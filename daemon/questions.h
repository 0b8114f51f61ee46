/*
 * Questions: deep asks, that is questions that the model looks for in recordings and files while
 * their client waits. A question is a watch of its own for that time ("ask-..."): its spans wait in
 * the ledger, are examined before everything but live video, and what it finds is committed,
 * published and kept like any other event, so that the same question asked again is answered from
 * the index.
 *
 * Responses without `last` bring events as they are committed, and once a second how far it has
 * come; a client that reads too slowly misses some of these and nothing else, for the last response
 * has everything. A client that is gone ends its question. What was not looked at then is unsaid.
 */
#ifndef WHEN_DAEMON_QUESTIONS_H
#define WHEN_DAEMON_QUESTIONS_H

#include "daemon/answer_list.h"
#include "daemon/backlog.h"
#include "daemon/service.h"

enum { QUESTIONS_MAX = 16, QUESTIONS_PER_CLIENT = 4 };

typedef struct Daemon Daemon;
typedef struct Questions Questions;

Questions *questions_new(Daemon *daemon); /* NULL: no memory */
void questions_free(Questions *questions);

/* A request whose names and question were checked. Answers or refuses, at once or later. */
void questions_ask(Questions *questions, const ServiceClient *client, const When__AskRequest *ask,
                   uint32_t deadline_ms);
/* false: this client has no such question. */
bool questions_cancel(Questions *questions, const ServiceClient *client, uint64_t request_id);

void questions_committed(Questions *questions, const Event *event);
void questions_tick(Questions *questions);

/* The names of their watches, first come first; until the next change. */
const char *const *questions_names(const Questions *questions, size_t *n);
/* As a watch that an archive job asks; NULL: it is over. */
const WatchConfig *questions_watch(const Questions *questions, const char *name);

#endif
