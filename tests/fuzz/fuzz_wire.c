/*
 * Messages from anybody: the first byte chooses which kind the rest is taken for. What is
 * understood comes back the same through packing; nothing is believed that is not there.
 */
#include "proto/wire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const KINDS[] = {
    &when__request__descriptor,   &when__response__descriptor, &when__event_message__descriptor,
    &when__heartbeat__descriptor, &when__progress__descriptor, &when__from_worker__descriptor,
    &when__to_worker__descriptor};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *kind = KINDS[data[0] % (sizeof KINDS / sizeof KINDS[0])];
    ProtobufCMessage *message = protobuf_c_message_unpack(kind, NULL, size - 1, data + 1);
    if (!message)
        return 0;
    size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(bytes + 1), *again = malloc(bytes + 1);
    assert(packed && again);
    size_t written = protobuf_c_message_pack(message, packed);
    assert(written == bytes);
    ProtobufCMessage *second = protobuf_c_message_unpack(kind, NULL, bytes, packed);
    /* libprotobuf-c takes an unknown field 0 with an overlong tag, and refuses it as it writes it
     * itself; whend never packs what it received. */
    if (second) {
        size_t second_bytes = protobuf_c_message_get_packed_size(second);
        assert(second_bytes == bytes);
        protobuf_c_message_pack(second, again);
        assert(memcmp(packed, again, bytes) == 0);
        protobuf_c_message_free_unpacked(second, NULL);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    free(packed);
    free(again);
    return 0;
}
