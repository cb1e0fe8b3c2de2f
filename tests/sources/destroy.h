/* Destroys every vector register that `wide` names, from `garbage`, by %rcx; at its end label 9 of who includes it. */
#define DESTROY_VECTORS \
    "  lea garbage(%rip), %rcx\n" \
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" \
    "  movups (%rcx), %xmm\\n\n" \
    ".endr\n" \
    "  cmpl $1, wide(%rip)\n" \
    "  jl 9f\n" \
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" \
    "  vmovups (%rcx), %ymm\\n\n" \
    ".endr\n" \
    "  cmpl $2, wide(%rip)\n" \
    "  jl 9f\n" \
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n" \
    "  vmovups (%rcx), %zmm\\n\n" \
    ".endr\n" \
    ".irp n,1,2,3,4,5,6,7\n" \
    "  kmovq (%rcx), %k\\n\n" \
    ".endr\n"
