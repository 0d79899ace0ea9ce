/* The built-in text for key statistics, so that the program finds it wherever it stands. */
    .section .rodata
    .global ke__stats_text
    .hidden ke__stats_text
    .type ke__stats_text, %object
ke__stats_text:
    .incbin "data/stats-text/wikitext2.txt"
    .global ke__stats_text_end
    .hidden ke__stats_text_end
ke__stats_text_end:
    .byte 0
    .size ke__stats_text, . - ke__stats_text
    .section .note.GNU-stack, "", %progbits
