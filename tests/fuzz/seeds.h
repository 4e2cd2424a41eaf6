/* seeds.h - the checkpoints that mutations start from: one of each format and layout, made by forge.h. */
#ifndef MIDRE_TESTS_SEEDS_H
#define MIDRE_TESTS_SEEDS_H

#include "tests/fuzz/forge.h"

#define SEEDS 7

/* A state dict of four tensors: packed, a view, a scalar, an empty one; inside {'state_dict': ..., 'epoch': 3, ...}. */
static inline void seed_pickle(struct forge *f, int wrapped, int legacy) {
    forge_begin(f);
    if (wrapped) {
        forge_op(f, "}(");
        forge_text(f, "epoch");
        forge_op(f, "K\x03");
        forge_text(f, "lr");
        forge_op(f, "G\x3f\xe0");
        forge_uint(f, 6, 0);
        forge_text(f, "args");
        forge_op(f, "cargparse\nNamespace\n)\x81}");
        forge_text(f, "arch");
        forge_text(f, "vgg16");
        forge_op(f, "sb");
        forge_text(f, "state_dict");
    }
    forge_op(f, "ccollections\nOrderedDict\n)Rq");
    forge_uint(f, 1, 1);
    forge_op(f, "(");
    const char *p = wrapped ? "module." : "";
    struct {
        const char *name;
        struct forged t;
    } item[] = {
        {"conv.weight", {.count = 16, .nd = 4, .shape = {2, 1, 2, 2}, .stride = {4, 4, 2, 1}}},
        {"view", {.count = 16, .offset = 1, .nd = 2, .shape = {2, 3}, .stride = {1, 4}}},
        {"steps", {.class = "LongStorage", .key = "1", .count = 8}},
        {"none", {.class = "HalfStorage", .key = "2", .count = 32, .nd = 2, .shape = {0, 3}, .stride = {3, 1}}},
    };
    for (int i = 0; i < 4; i++) {
        char name[64];
        strcpy(name, p);
        strcat(name, item[i].name);
        forge_text(f, name);
        item[i].t.legacy = legacy;
        if (legacy && i > 1) item[i].t = (struct forged){.key = i == 2 ? "1" : "2", .count = 16, .legacy = 1};
        forge_tensor(f, item[i].t);
    }
    forge_op(f, wrapped ? "uu." : "u.");
}

static inline void seed_safetensors(struct forge *f) {
    static const char h[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                            "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1,2,2],\"data_offsets\":[0,32]},"
                            "\"b\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[32,35]}}";
    forge_uint(f, 8, sizeof h - 1);
    forge_op(f, h);
    for (int i = 0; i < 35; i++) forge_uint(f, 1, (uint64_t)i);
}

/* Seed i of SEEDS into an empty forge. */
static inline void seed(struct forge *f, int i) {
    static const char *const keys[] = {"0", "1", "2"};
    struct forge p = {0};
    int legacy = i == 4 || i == 5;
    seed_pickle(&p, i % 2, legacy);
    if (i < 4)
        forge_zip(f, &p, i < 2);
    else if (legacy)
        forge_legacy(f, &p, keys, 3);
    else
        seed_safetensors(f);
    forge_free(&p);
}

#endif
