/* The example at the top of knowedit/base.h, as a program: open a model and say what it is.
 */
#include <knowedit/model.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    int code = 0;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_model *m = NULL;
    if (cx == NULL || argc != 2)
        return 2;
    if (ke_model_open(cx, &m, argv[1]) == KE_OK) {
        ke_model_info info;
        ke_model_info_get(m, &info);
        printf("%s: %s, %u layers\n", argv[1], info.architecture, info.n_layers);
    } else {
        fprintf(stderr, "%s\n", ke_ctx_message(cx));
        code = 1;
    }
    ke_model_close(cx, m);
    ke_ctx_free(cx);
    return code;
}
