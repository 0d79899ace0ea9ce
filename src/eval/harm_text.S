/* The held-out text, see data/harm-text. Assembled from the root of the tree. */
    .section .rodata
    .globl ke__harm_text
    .globl ke__harm_text_end
    .hidden ke__harm_text
    .hidden ke__harm_text_end
ke__harm_text:
    .incbin "data/harm-text/harm.txt"
ke__harm_text_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
