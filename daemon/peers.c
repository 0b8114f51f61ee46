/* Routing ids of clients from elsewhere. See peers.h. */
#include "daemon/peers.h"

#include <stdlib.h>
#include <string.h>

typedef struct Peer {
    uint8_t id[WIRE_MAX_ID_BYTES];
    size_t id_bytes;
    char user[WIRE_MAX_USER_BYTES];
    uint64_t heard; /* counts messages */
} Peer;

struct Peers {
    Peer list[PEERS_MAX]; /* [n] */
    size_t n;
    uint64_t heard;
};

Peers *peers_new(void)
{
    return calloc(1, sizeof(Peers));
}

void peers_free(Peers *peers)
{
    free(peers);
}

static Peer *find(const Peers *peers, const uint8_t *id, size_t id_bytes)
{
    for (size_t i = 0; i < peers->n; i++)
        if (peers->list[i].id_bytes == id_bytes && memcmp(peers->list[i].id, id, id_bytes) == 0)
            return (Peer *)&peers->list[i];
    return NULL;
}

void peers_note(Peers *peers, const uint8_t *id, size_t id_bytes, const char *user)
{
    Peer *peer = find(peers, id, id_bytes);
    if (!user[0]) {
        if (peer)
            *peer = peers->list[--peers->n];
        return;
    }
    if (!peer && peers->n < PEERS_MAX) {
        peer = &peers->list[peers->n++];
    } else if (!peer) {
        peer = &peers->list[0];
        for (size_t i = 1; i < peers->n; i++)
            if (peers->list[i].heard < peer->heard)
                peer = &peers->list[i];
    }
    *peer = (Peer){.id_bytes = id_bytes, .heard = ++peers->heard};
    memcpy(peer->id, id, id_bytes);
    memcpy(peer->user, user, strlen(user) + 1);
}

const char *peers_user(const Peers *peers, const uint8_t *id, size_t id_bytes)
{
    const Peer *peer = find(peers, id, id_bytes);
    return peer ? peer->user : NULL;
}
