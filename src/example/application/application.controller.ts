import {
  Body,
  Controller,
  Get,
  HttpCode,
  NotFoundException,
  Param,
  ParseUUIDPipe,
  Post,
} from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNotEmpty, IsString, MaxLength } from 'class-validator';
import { Repository } from 'typeorm';
import { Quote } from '../quote/quote.entity.js';
import { ApplicationCancelService } from './application-cancel.service.js';
import { Application } from './application.entity.js';

export class OpenApplicationBody {
  @IsString()
  @IsNotEmpty()
  @MaxLength(200)
  title: string;
}

@Controller('applications')
export class ApplicationController {
  constructor(
    @InjectRepository(Application) private readonly applications: Repository<Application>,
    @InjectRepository(Quote) private readonly quotes: Repository<Quote>,
    private readonly cancelling: ApplicationCancelService,
  ) {}

  @Post()
  open(@Body() { title }: OpenApplicationBody): Promise<Application> {
    return this.applications.save({ title, status: 'OPEN' });
  }

  @Get(':id')
  async find(@Param('id', ParseUUIDPipe) id: string): Promise<Application & { quotes: Quote[] }> {
    const application = await this.applications.findOneBy({ id });
    if (!application) throw new NotFoundException(`There is no application ${id}.`);
    return Object.assign(application, { quotes: await this.quotes.findBy({ applicationId: id }) });
  }

  @Post(':id/cancel')
  @HttpCode(200)
  cancel(@Param('id', ParseUUIDPipe) id: string): Promise<Application> {
    return this.cancelling.cancel(id);
  }
}
