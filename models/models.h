/* models/models.h - the descriptors the table lists; one line per architecture. */
#ifndef MIDRE_MODELS_H
#define MIDRE_MODELS_H

#include "midre/model.h"
#include "midre/skips.h"

extern const struct mi_model_desc mi_model_vgg16;
extern const struct mi_model_desc mi_model_ir152, mi_model_facenet64, mi_model_facenet112;
extern const struct mi_model_desc mi_model_resnet18, mi_model_resnet50, mi_model_resnet101, mi_model_resnet152;
extern const struct mi_model_desc mi_model_densenet121, mi_model_densenet169, mi_model_resnest101;
extern const struct mi_model_desc mi_model_efficientnet_b0, mi_model_efficientnet_b1, mi_model_efficientnet_b2;
extern const struct mi_model_desc mi_model_resnet50_mirror;
extern const struct mi_model_desc mi_model_maxvit_t, mi_model_inception_resnet_v1;
extern const struct mi_model_desc mi_model_inception_v3, mi_model_inception_fid;
extern const struct mi_model_desc mi_model_quick, mi_model_quickres;

#endif
