# knowedit. `make deps` installs the packages, `make` builds build/knowedit, `make check`
# runs the tests. Sources are found by wildcard: a new file needs no edit here.
CC      ?= cc
BUILD   ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
SAN     ?=
THREADS ?= openmp
VERSION := $(shell sed -n 's/.*KE_VERSION "\(.*\)"/\1/p' include/knowedit/base.h)

WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
           -Wvla -Wdouble-promotion -Wno-unknown-warning-option
WERROR  ?=
PKGS    := jansson libpcre2-8 libutf8proc libcrypto
PKG_C   := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_L   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
OMP     := $(if $(filter openmp,$(THREADS)),-fopenmp,-fopenmp-simd -pthread -DKE_THREADS_PTHREAD)
ALL_C   := -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -fvisibility=hidden -fPIC -MMD -MP \
           -ffp-contract=off $(WARN) $(WERROR) $(OMP) $(PKG_C) $(SAN) $(CFLAGS)
LIBS    := $(PKG_L) -lopenblas -lm -lpthread $(OMP) $(SAN) $(LDFLAGS)

LIB_SRC := $(filter-out src/cli/% src/serve/%,$(wildcard src/*/*.c src/*/*/*.c src/*/*.S))
CLI_SRC := $(wildcard src/cli/*.c)
LIB_OBJ := $(patsubst %,$(BUILD)/%.o,$(basename $(LIB_SRC)))
CLI_OBJ := $(patsubst %,$(BUILD)/%.o,$(basename $(CLI_SRC)))
SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))
TESTS   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c tests/kernel/test_*.c tests/grad/test_*.c))
MODEL_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/oracle/test_*.c))

.PHONY: all lib deps check check-models install uninstall clean
.SECONDARY:
all: $(BUILD)/knowedit lib
lib: $(BUILD)/libknowedit.a $(BUILD)/libknowedit.so

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_C) $(ISA_C) -c -o $@ $<
$(BUILD)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(ALL_C) -c -o $@ $<
$(BUILD)/src/kernels/ref/%.o $(BUILD)/src/kernels/avx2/%.o $(BUILD)/src/kernels/avx512/%.o: CFLAGS += -O3 -fno-math-errno -fno-trapping-math
$(BUILD)/src/kernels/avx2/%.o: ISA_C := -mavx2 -mfma -mf16c
$(BUILD)/src/kernels/avx512/%.o: ISA_C := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c

$(BUILD)/libknowedit.a: $(LIB_OBJ)
	$(AR) rcs $@ $^
$(BUILD)/libknowedit.so: $(LIB_OBJ)
	$(CC) -shared -Wl,-soname,libknowedit.so.0 -o $@ $^ $(LIBS)
$(BUILD)/knowedit: $(CLI_OBJ) $(BUILD)/libknowedit.a
	$(CC) -o $@ $^ -lpopt $(LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT) $(BUILD)/libknowedit.a
	$(CC) -o $@ $^ -lcmocka $(LIBS)

clean:
	rm -rf $(BUILD)

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(SUPPORT:.o=.d) $(TESTS:=.d) $(MODEL_TESTS:=.d)
