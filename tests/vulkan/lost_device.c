/* A layer of Vulkan that loses the device, once, as a driver does after a hang or a reset.
 *
 * While the file named by LOSE_DEVICE_FILE is there, the next call of the function named by
 * LOSE_DEVICE_AT answers VK_ERROR_DEVICE_LOST. The file is removed, so the device of the next process
 * is well. This process's stays lost, as Vulkan has it: every later call answers the same.
 *
 * Vulkan's headers are not needed: the structures of the loader that are used here are part of its
 * stable interface (vk_layer.h).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE_LOST (-4)
#define FAILED (-3)
#define LOADER_INSTANCE 47
#define LOADER_DEVICE 48
#define LINK_INFO 0

typedef void (*function)(void);
typedef function (*finder)(void *, const char *);

struct link { /* VkLayerInstanceLink and VkLayerDeviceLink, whose third field differs */
    struct link *next;
    finder of_instance;
    finder third;
};

struct create_info { /* the beginning of VkLayerInstanceCreateInfo and VkLayerDeviceCreateInfo */
    int type;
    struct create_info *next;
    int function;
    struct link *link;
};

struct negotiation { /* VkNegotiateLayerInterface */
    int type;
    void *next;
    uint32_t version;
    finder instance_functions;
    finder device_functions;
    finder physical_device_functions;
};

static finder next_instance_function, next_device_function;
static int is_lost;
static int (*next_create_device)(void *, const void *, const void *, void **);
static int (*next_submit)(void *, uint32_t, const void *, uint64_t);
static int (*next_status)(void *, uint64_t);
static int (*next_wait)(void *, uint32_t, const uint64_t *, uint32_t, uint64_t);

static int lost(const char *name) {
    const char *at = getenv("LOSE_DEVICE_AT"), *file = getenv("LOSE_DEVICE_FILE");
    if (!is_lost && at && file && !strcmp(at, name) && !unlink(file))
        is_lost = 1;
    return is_lost;
}

static struct link *take_link(const void *info, int type) {
    struct create_info *one = *(struct create_info *const *)((const char *)info + sizeof(void *));
    while (one && !(one->type == type && one->function == LINK_INFO))
        one = one->next;
    if (!one)
        return NULL;
    struct link *link = one->link;
    one->link = link->next;
    return link;
}

static int submit(void *queue, uint32_t n, const void *submits, uint64_t fence) {
    return lost("vkQueueSubmit") ? DEVICE_LOST : next_submit(queue, n, submits, fence);
}

static int status(void *device, uint64_t fence) {
    return lost("vkGetFenceStatus") ? DEVICE_LOST : next_status(device, fence);
}

static int wait_for(void *device, uint32_t n, const uint64_t *fences, uint32_t all, uint64_t ns) {
    return lost("vkWaitForFences") ? DEVICE_LOST : next_wait(device, n, fences, all, ns);
}

static int create_instance(const void *info, const void *allocator, void **made) {
    struct link *link = take_link(info, LOADER_INSTANCE);
    if (!link)
        return FAILED;
    next_instance_function = link->of_instance;
    int (*create)(const void *, const void *, void **);
    create = (int (*)(const void *, const void *, void **))link->of_instance(NULL, "vkCreateInstance");
    int result = create(info, allocator, made);
    if (!result)
        /* Asked for now: an instance may be gone by the time that another one makes a device. */
        next_create_device = (int (*)(void *, const void *, const void *, void **))
            link->of_instance(*made, "vkCreateDevice");
    return result;
}

static int create_device(void *physical, const void *info, const void *allocator, void **made) {
    struct link *link = take_link(info, LOADER_DEVICE);
    if (!link)
        return FAILED;
    next_device_function = link->third;
    int result = next_create_device(physical, info, allocator, made);
    if (!result) {
        next_submit = (int (*)(void *, uint32_t, const void *, uint64_t))
            next_device_function(*made, "vkQueueSubmit");
        next_status = (int (*)(void *, uint64_t))next_device_function(*made, "vkGetFenceStatus");
        next_wait = (int (*)(void *, uint32_t, const uint64_t *, uint32_t, uint64_t))
            next_device_function(*made, "vkWaitForFences");
    }
    return result;
}

static function device_function(void *device, const char *name);

static function ours(const char *name) {
    static const struct { const char *name; function own; } known[] = {
        {"vkQueueSubmit", (function)submit},
        {"vkGetFenceStatus", (function)status},
        {"vkWaitForFences", (function)wait_for},
        {"vkGetDeviceProcAddr", (function)device_function},
    };
    for (size_t at = 0; at < sizeof known / sizeof *known; at++)
        if (!strcmp(known[at].name, name))
            return known[at].own;
    return NULL;
}

static function device_function(void *device, const char *name) {
    function own = ours(name);
    return own ? own : next_device_function(device, name);
}

static function instance_function(void *of, const char *name) {
    if (!strcmp(name, "vkCreateInstance"))
        return (function)create_instance;
    if (!strcmp(name, "vkCreateDevice"))
        return (function)create_device;
    function own = ours(name);
    return own ? own : next_instance_function(of, name);
}

int vkNegotiateLoaderLayerInterfaceVersion(struct negotiation *asked) {
    asked->version = 2;
    asked->instance_functions = instance_function;
    asked->device_functions = device_function;
    asked->physical_device_functions = NULL;
    return 0;
}
