/* models/table.c - the list of architectures.  A new one is a file beside this, a line in models.h and a line here. */
#include "models/models.h"

const struct mi_model_desc *const mi_model_table[] = {
    &mi_model_vgg16,
    &mi_model_ir152,
    &mi_model_facenet64,
    &mi_model_facenet112,
    &mi_model_resnet18,
    &mi_model_resnet50,
    &mi_model_resnet101,
    &mi_model_resnet152,
    &mi_model_densenet121,
    &mi_model_densenet169,
    &mi_model_resnest101,
    &mi_model_resnet50_mirror,
    &mi_model_efficientnet_b0,
    &mi_model_efficientnet_b1,
    &mi_model_efficientnet_b2,
    &mi_model_maxvit_t,
    &mi_model_inception_resnet_v1,
    &mi_model_inception_v3,
    &mi_model_inception_fid,
    &mi_model_quick,
    &mi_model_quickres,
    NULL,
};
