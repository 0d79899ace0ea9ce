/* The team's life-time; work goes through ke__parallel(). */
#ifndef KE_BASE_THREADS_H
#define KE_BASE_THREADS_H

#include "base/base.h"

/* A context begins and ends; with the last one the team's threads end. */
void ke__team_join(void);
void ke__team_leave(void);

#endif
